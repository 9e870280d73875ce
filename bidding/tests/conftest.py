"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The first call of compiled code takes seconds; deadlines would measure the compiler.
settings.register_profile("auctionlab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("auctionlab")
