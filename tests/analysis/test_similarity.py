import pytest
import torch

from nim4asr.analysis.similarity import linear_cka


def frames(count: int = 200, dim: int = 12) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(count, dim) * torch.logspace(0, -1, dim)


def test_it_is_the_definition() -> None:
    """K = C E E^T C, written out."""
    a, b = frames(), frames()[:, :7] + 0.5 * torch.randn(200, 7)
    centring = torch.eye(200) - 1 / 200
    ka, kb = (centring @ x @ x.T @ centring for x in (a, b))
    expected = (ka * kb).sum().abs() / ((ka * ka).sum() * (kb * kb).sum()).sqrt()
    assert linear_cka(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_rotation_scale_and_shift_do_not_matter() -> None:
    a = frames()
    rotation, _ = torch.linalg.qr(torch.randn(12, 12))
    assert linear_cka(a, 3 * a @ rotation + 5) == pytest.approx(1.0, abs=1e-6)


def test_it_falls_with_distance() -> None:
    a, noise = frames(), torch.randn(200, 12)
    values = [linear_cka(a, a + share * noise) for share in (0.0, 0.1, 0.5, 3.0)]
    assert values[0] == pytest.approx(1.0) and values == sorted(values, reverse=True)
    assert linear_cka(a, torch.zeros(200, 3)) == 0.0


def test_as_many_frames_are_needed() -> None:
    with pytest.raises(ValueError, match="200"):
        linear_cka(frames(), frames(199))
