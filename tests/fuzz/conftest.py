"""Lets the targets beside this file be imported, as nothing here is a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
