"""From what the hospital told and what the archive lists to a decision about every study."""
