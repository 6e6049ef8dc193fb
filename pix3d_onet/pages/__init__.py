"""What HTML pages share: templates, styles, coded pictures and meshes, the 3D view."""
