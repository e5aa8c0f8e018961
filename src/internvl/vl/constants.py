"""LMDeploy's name for a picture's place in the text."""

#: Inside a prompt: filled by the pictures in order, like `<image>`.
IMAGE_TOKEN = "<IMAGE_TOKEN>"
