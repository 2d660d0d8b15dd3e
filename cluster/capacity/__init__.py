"""Network or disks: when everything has arrived, by either way, and what would change it."""
