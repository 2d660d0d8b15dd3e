"""Accession numbers: rules that renumber them, and the proof that no two become one."""
