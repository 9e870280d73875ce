"""Where a trained encoder puts its knowledge: entropy allocation, and how far it has drifted."""
