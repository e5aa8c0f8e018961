"""The tutorial's Python, as printed: only the import, the model and the places of the pictures change."""

from importlib.resources import files

import pytest

from golden import SHARED, requires_shared
from tiny_engines import picture, write_tiny_checkpoint

#: The tutorial prints each block on one line; these are its statements, one a line.
DESCRIBE = """\
from lmdeploy import pipeline, TurbomindEngineConfig
from lmdeploy.vl import load_image
model = 'OpenGVLab/InternVL2_5-8B'
image = load_image('https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/tests/data/tiger.jpeg')
pipe = pipeline(model, backend_config=TurbomindEngineConfig(session_len=8192))
response = pipe(('描述这张图片', image))
print(response.text)
"""

COMPARE = """\
from lmdeploy.vl.constants import IMAGE_TOKEN
image_urls = [
    'https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/demo/resources/human-pose.jpg',
    'https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/demo/resources/det.jpg'
]
images = [load_image(url) for url in image_urls]
prompt = f'Image-1: {IMAGE_TOKEN}\\nImage-2: {IMAGE_TOKEN}\\n描述这两张图片'
response = pipe((prompt, images))
print(response.text)
"""

DOCUMENT = """\
image = load_image('document.jpg')
response = pipe(('提取图片中表格的内容', image))
print(response.text)
"""

BLOCKS = (DESCRIBE, COMPARE, DOCUMENT)
PLACES = (
    "https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/tests/data/tiger.jpeg",
    "https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/demo/resources/human-pose.jpg",
    "https://raw.githubusercontent.com/open-mmlab/mmdeploy/main/demo/resources/det.jpg",
    "document.jpg",
)
NANO = files("internvl") / "assets" / "nano" / "model.safetensors"


@pytest.fixture(scope="module", params=["tiny", "nano"])
def model(request, tmp_path_factory):
    if request.param == "tiny":
        return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))
    if not NANO.is_file():
        pytest.skip("the bundled model is not there yet")
    return "nano"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tutorial's pictures, by their file names."""
    directory = tmp_path_factory.mktemp("pictures")
    for seed, place in enumerate(PLACES):
        picture(300, 200, seed=seed).save(directory / place.rsplit("/", 1)[-1], format="JPEG")
    return directory


def adapted(block, model, folder):
    """The block with our import, another model and local pictures."""
    code = block.replace("lmdeploy", "internvl").replace("OpenGVLab/InternVL2_5-8B", model)
    for place in PLACES:
        code = code.replace(place, str(folder / place.rsplit("/", 1)[-1]))
    return code


@requires_shared
def test_the_blocks_are_the_tutorials():
    text = "".join(" ".join(path.read_text("utf-8").split()) for path in (SHARED / "seed").glob("*.txt"))
    for block in BLOCKS:
        assert " ".join(block.split()) in text


def test_every_block_runs(model, folder, capsys):
    names = {}
    media = []
    for block in BLOCKS:
        exec(compile(adapted(block, model, folder), "tutorial", "exec"), names)
        response = names["response"]
        assert capsys.readouterr().out == response.text + "\n"
        assert response.finish_reason in ("stop", "length")
        assert response.generate_token_len == len(response.token_ids) > 0
        media.append(len(response.usage.media))
    assert media == [1, 2, 1]
    assert names["pipe"].engine.session_len == 8192
    names["pipe"].close()
