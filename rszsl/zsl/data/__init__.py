"""Images and how they are divided: folders and tables of images, class splits by seed, near-duplicates."""
