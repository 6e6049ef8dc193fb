"""One reader per mesh format: bytes in, a :class:`~pix3d_onet.geometry.mesh.formats.soup.Soup` of triangles out."""
