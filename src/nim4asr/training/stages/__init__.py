"""The stages of training, a file each, named as the paper names them."""
