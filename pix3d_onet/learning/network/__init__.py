"""The network: image encoder, pose branch, conditional decoder, published weights."""
