"""Names to index to hits to hints."""
