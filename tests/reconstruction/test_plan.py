"""What belongs together, what is missing: seen before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from pix3d_onet.errors import ConfigError, InputError
from pix3d_onet.reconstruction.plan import Request, match, photos_among


def test_a_folder_may_have_a_dot_and_the_ending_gives_the_format(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("meshes.v2").mkdir()
    image = [Path("a.jpg")]
    assert match(image, [], [], Path("meshes.v2"), None)[0].out == Path("meshes.v2/a.glb")
    assert match(image, [], [], Path("new"), "ply")[0].out == Path("new/a.ply")
    assert match(image, [], [], "new.v2/", None)[0].out == Path("new.v2/a.glb")  # a slash says that it is a folder
    with pytest.raises(ConfigError, match=r"\.v2"):
        match(image, [], [], "new.v2", None)
    assert match(image, [], [], Path("a.OBJ"), "obj")[0].out == Path("a.OBJ")
    assert match(image, [], [], Path("a.stl"), None)[0].out == Path("a.stl")
    with pytest.raises(ConfigError, match="contradict"):
        match(image, [], [], Path("a.stl"), "glb")


def test_masks_are_matched_to_pictures(tmp_path) -> None:
    def masks(images: list[str], *given: object) -> list[object]:
        return [job.mask for job in match([Path(i) for i in images], [str(g) for g in given], [], Path("out"), "obj")]

    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("a.png", "c.PNG", "d.TIF", "d.webp", "d.JPG", "d.txt", "e.PNG", "e.png"):
        (folder / name).touch()
    assert masks(["x/a.jpg", "x/b.jpg"], folder) == [folder / "a.png", folder / "b.jpg"]  # the reader misses the latter
    assert masks(["x/c.jpg", "x/e.jpg"], folder) == [folder / "c.PNG", folder / "e.PNG"]
    assert masks(["x/d.jpg"], folder) == masks(["x/d.jpeg"], folder) == [folder / "d.JPG"]
    assert masks(["x/d.tif"], folder) == [folder / "d.TIF"]  # the picture's own ending comes first
    assert masks(["x/d.png"], folder) == [folder / "d.JPG"]
    assert masks(["a.jpg", "b.jpg"], "auto") == ["auto", "auto"]
    assert masks(["a.jpg", "b.jpg"], "m.png", "auto") == [Path("m.png"), "auto"]
    assert masks(["a.jpg"]) == [None]
    for given in (folder, folder / "a.png"):
        with pytest.raises(ConfigError, match="is the picture itself"):
            masks([str(folder / "a.png")], given)
    jobs = match([Path("one/a.jpg"), Path("two/a.jpg")], [], [], Path("out"), "obj")
    assert [j.out.name for j in jobs] == ["a.obj", "two-a.obj"]
    with pytest.raises(ConfigError, match="give it once"):
        masks(["a.jpg", "b.jpg"], folder, folder)


def test_pictures_of_one_name_are_told_apart_by_what_differs(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def names(*images: str) -> list[str]:
        return [job.out.name for job in match([Path(i) for i in images], [], [], None, None)]

    assert names("a.gif", "a.png") == ["a.glb", "a-png.glb"]
    assert names("x/a.gif", "a.png", "x/a.png", "a.jpg") == ["a.glb", "here-a.glb", "a-png.glb", "a-jpg.glb"]
    assert names("x/a.gif", "x/a.png", "y/a.gif", "y/a.png") == ["a.glb", "a-png.glb", "y-a.glb", "y-a-png.glb"]
    with pytest.raises(ConfigError, match="two pictures"):
        match([Path("one/a.jpg"), Path("one/a.jpg"), Path("one/a.jpg")], [], [], None, "obj")


def test_previews_of_earlier_calls_are_no_photos() -> None:
    preview = Path("photo.preview.png")
    assert photos_among([preview, Path("photo.png")]) == [1]
    assert photos_among([preview]) == [0]  # alone it was meant
    with pytest.raises(InputError, match="previews"):
        photos_among([preview, preview])


@pytest.mark.parametrize(
    "options",
    [{"sheet": Path("s.jpg")}, {"sheet": Path("s.png"), "preview": False}, {"frame": "original"}, {"format": "fbx"}],
    ids=str,
)
def test_a_request_that_contradicts_itself(options) -> None:
    with pytest.raises(ConfigError):
        Request(Path("run"), (Path("a.png"),), **options)
