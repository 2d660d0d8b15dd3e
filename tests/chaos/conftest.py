"""The modules beside this file can be imported: without packages, pytest leaves that to whoever needs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
