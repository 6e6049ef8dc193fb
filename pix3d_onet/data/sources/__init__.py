"""List the shapes and pictures of Pix3D, ShapeNet, folders of meshes and the original layout; assign splits."""
