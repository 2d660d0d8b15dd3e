"""Whose study it is: numbers of patients, their merges over the years, and what that changes in a header."""
