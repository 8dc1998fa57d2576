"""torch datasets over records, augmentation included."""
