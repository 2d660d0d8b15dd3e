"""Finding every study of an archive that may cut its answers and say nothing about it."""
