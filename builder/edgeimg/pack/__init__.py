"""Tree → bytes: EROFS and dm-verity, initrd, UKI, FAT partitions, the GPT disk, published files."""
