"""Read sources, pictures and splits; read and write prepared data sets. No geometry library, no torch."""
