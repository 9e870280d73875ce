"""Text: which characters are Chinese, how numbers are said, what an error rate compares."""
