"""Without packages, pytest leaves it to whoever needs it that the modules beside this file can be imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
