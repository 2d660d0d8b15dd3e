"""Limosa's parts by themselves, and the tools people use in their place, each as a program of its own."""
