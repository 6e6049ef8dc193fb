"""glTF 2.0 and GLB: JSON and numpy, every number checked before anything is built from it.

``container`` finds the document and its buffers, ``accessors`` reads arrays, ``compression`` unpacks Draco and meshopt,
``primitives`` makes triangles, ``nodes``, ``skins`` and ``scene`` place them.
"""
