"""``python -m nim4asr`` is ``nim4``."""

import sys

from nim4asr.cli.main import main

sys.exit(main())
