"""Read glTF 2.0 and GLB with JSON and NumPy; every number is checked before it is used.

``container``: document and buffers; ``checked``: JSON values; ``accessors``: arrays; ``compression``: Draco and
meshopt; ``primitives``: triangles; ``nodes``, ``skins`` and ``scene``: placement.
"""
