"""Pictures -> tiles -> pixel values; messages -> prompt -> ids."""
