"""What runs a network: torch, or onnxruntime from exported graphs. Recognition sees numpy arrays alone."""
