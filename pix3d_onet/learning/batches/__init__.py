"""From a prepared data set to the batches of the training loop: drawing, reading, decoding, augmentation."""
