"""CT dose that machines can read: found in images, gathered per irradiation event, written as a dose report."""
