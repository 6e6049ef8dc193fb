"""Where shapes and pictures come from: Pix3D, ShapeNet, folders of meshes, the original layout; and their splits."""
