"""Put this checkout's `src` first on the path; stages import this before anything of segpipe.

A queued experiment runs in a copy of the repository and must run the copy's code, whereas the
installed package is the original's.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
