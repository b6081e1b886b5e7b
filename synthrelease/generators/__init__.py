"""Networks that learn to make images, one paper a file, with the layers, the resampling and the losses they share."""
