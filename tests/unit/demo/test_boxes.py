import numpy as np
from PIL import Image

from internvl.demo.boxes import MAX_BOXES, Region, draw_regions, pixel_box, read_regions


def test_a_region_becomes_its_label_and_a_number():
    grounded = read_regions("I see <ref>the dog</ref><box>[[10, 20, 300, 400]]</box> asleep.")
    assert grounded.text == "I see the dog [1] asleep."
    assert grounded.regions == (Region(1, "the dog", (10, 20, 300, 400), 0),)


def test_one_label_may_have_several_boxes():
    grounded = read_regions("<ref>cups</ref><box>[[0,0,100,100], [200,0,300,100]]</box>")
    assert grounded.text == "cups [1] [2]"
    assert [region.box_xyxy_norm1000 for region in grounded.regions] == [
        (0, 0, 100, 100),
        (200, 0, 300, 100),
    ]


def test_a_box_without_a_label_is_read_too():
    assert read_regions("There: <box>[[1,2,3,4]]</box>").text == "There: [1]"


def test_corners_the_wrong_way_round_are_turned_and_numbers_out_of_range_are_cut():
    (region,) = read_regions("<box>[[900, 800, 100, 5000]]</box>").regions
    assert region.box_xyxy_norm1000 == (100, 800, 900, 1000)


def test_a_box_without_area_is_left_out():
    assert read_regions("<ref>a line</ref><box>[[5,5,5,900]]</box>") == read_regions("a line")


def test_text_without_tags_is_left_alone():
    text = "a < b, x[[1,2,3,4]], if (a<b) then <b>bold</b>"
    assert read_regions(text).text == text


def test_a_label_that_never_gets_a_box_keeps_what_follows_it():
    assert read_regions("<ref>the cat</ref> sleeps").text == "the cat sleeps"


def test_a_stream_never_shows_half_a_tag_or_half_a_box():
    answer = "Look: <ref>a cat</ref><box>[[10, 20, 300, 400]]</box> sleeps"
    for end in range(len(answer) + 1):
        text = read_regions(answer[:end]).text
        assert "<" not in text
        assert "20" not in text
        assert "Look: a cat [1] sleeps".startswith(text.rstrip())


def test_a_box_belongs_to_the_picture_that_was_named_last():
    answer = "<box>[[0,0,9,9]]</box> Image-2: <box>[[0,0,9,9]]</box>, Image-7: <box>[[0,0,9,9]]</box>"
    assert [region.picture for region in read_regions(answer, num_pictures=3).regions] == [0, 1, 1]


def test_an_answer_in_circles_gives_a_bounded_number_of_boxes():
    assert len(read_regions("<box>[[0,0,9,9]]</box>" * 1000).regions) == MAX_BOXES


def test_frames_are_drawn_where_the_box_lies_and_the_picture_given_is_not_changed():
    image = Image.new("RGB", (400, 200))
    drawn = np.asarray(draw_regions(image, read_regions("<box>[[250,250,750,750]]</box>").regions))
    left, top, right, bottom = pixel_box((250, 250, 750, 750), 400, 200)
    assert drawn[bottom, (left + right) // 2].any()
    assert drawn[(top + bottom) // 2, right].any()
    assert not drawn[(top + bottom) // 2, (left + right) // 2].any()
    assert not drawn[10, 10].any()
    assert not np.asarray(image).any()


def test_boxes_on_the_edge_of_a_tiny_picture_can_be_drawn():
    regions = read_regions("<box>[[0,0,1000,1000],[990,990,1000,1000]]</box>").regions
    assert draw_regions(Image.new("RGB", (3, 2)), regions).size == (3, 2)
