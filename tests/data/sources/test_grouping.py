from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pix3d_onet.config import Grouping, PrepareConfig
from pix3d_onet.data.sources.grouping import category_of, group_of
from pix3d_onet.data.sources.mesh_folder import list_meshes
from pix3d_onet.data.store.manifest import read_manifest
from pix3d_onet.inspection.checks import check_leakage, check_manifest
from pix3d_onet.preparation.job import Execution, prepare

SHAPENET = ("03/a", "03/b", "04/a", "04/c")  # one model has two categories, as some of ShapeNet's have
LAYOUTS = {
    "3D-FUTURE": ({f"{u}/{v}_model.obj": u for u in ("0a", "1b", "2c") for v in ("raw", "normalized")}, "mesh"),
    "GSO": ({f"{u}/meshes/model.obj": u for u in ("Shoe", "Mug")}, "mesh"),
    "ABO": ({f"{i}/B0{i}{j}.glb": f"{i}/B0{i}{j}" for i in range(2) for j in range(2)}, None),
    "ShapeNet": ({f"{m}/models/model_normalized.obj": m for m in SHAPENET}, None),
    "YCB": ({f"00{i}_x/{f}/textured.obj": f"00{i}_x" for i in range(2) for f in ("google_16k", "poisson")}, "mesh"),
    "ModelNet": ({f"{c}/{s}/{c}_{s}.off": f"{c}/{s}/{c}_{s}" for c in "ab" for s in ("train", "test")}, None),
    "numbered": ({f"{c}/{n:03d}.obj": f"{c}/{n:03d}" for c in ("bed", "sofa") for n in range(3)}, None),
    "details": ({f"chair-{n}{v}.obj": f"chair-{n}" for n in range(3) for v in ("", "_low", "-high", "_lod0")}, "mesh"),
    "formats": ({f"set/{n}.{e}": f"set/{n}" for n in "pq" for e in ("obj", "ply", "stl")}, "set"),
    "folder of a variant": ({f"{v}/chair{n}.{v}": f"chair{n}" for v in ("obj", "ply") for n in range(3)}, "mesh"),
    "folder of a detail": ({f"{v}/{n}/x.obj": n for v in ("low", "v2") for n in "pq"}, "mesh"),
    "resolutions": ({f"{n}_{v}.obj": n for n in ("cup", "pot") for v in ("10k", "50k")}, "mesh"),
    "category and number": ({f"{c}/{c}_{n}/{c}_{n}.obj": f"{c}/{c}_{n}" for c in ("cup", "pot") for n in "012"}, None),
    "one model": ({"x/raw_model.obj": "x", "x/normalized_model.obj": "x"}, "mesh"),
    "named as its folder": ({f"{u}/{u}{v}.obj": u for u in ("0a", "1b") for v in ("", "_raw")}, "mesh"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_known_collections(name: str) -> None:
    expected, category = LAYOUTS[name]
    found = group_of(list(expected), "auto")
    assert found == expected
    categories = set(category_of(found).values())
    assert categories == ({category} if category else {n.split("/")[0] for n in expected})


def test_the_other_rules() -> None:
    names = ["a/b/x.obj", "a/b/y.obj", "a/c/x.obj", "z.obj"]
    assert list(group_of(names, "file").values()) == names
    assert list(group_of(names, "folder").values()) == ["a/b", "a/b", "a/c", "."]
    assert list(group_of(names, "top").values()) == ["a", "a", "a", "z"]


PART = st.sampled_from(["a", "b", "0a1f", "raw", "model", "1", "Chair", "low_x", "x_low"])
NAMES = st.lists(st.lists(PART, min_size=1, max_size=4).map("/".join), min_size=1, max_size=20, unique=True).map(
    lambda stems: [f"{stem}.{'obj' if i % 3 else 'ply'}" for i, stem in enumerate(stems)]
)


@given(NAMES, st.sampled_from(get_args(Grouping)), st.randoms())
def test_order_changes_nothing_and_every_file_has_a_group(names: list[str], rule: Grouping, random: object) -> None:
    found = group_of(names, rule)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert group_of(shuffled, rule) == found
    assert found.keys() == set(names)
    assert all(found.values())
    if rule == "auto":  # a shape's folders are folders of its files
        assert all(set(g.lower().split("/")[:-1]) <= set(n.lower().split("/")[:-1]) for n, g in found.items())


BOX = "v 0 0 0\nv {0} 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
SMALL = PrepareConfig(
    categories=("all",), points=64, surface_points=16, image_size=16, resolution=16, render_views=1, watertight="none"
)


def write(root: Path, name: str, width: float) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(BOX.format(width))


def split_of(root: Path, out: Path, seed: int = 0) -> dict[str, str]:
    config = PrepareConfig.from_json({**SMALL.to_json(), "seed": seed})
    prepare(list_meshes(root, config), config, out, Execution(backend="inline"))
    manifest = read_manifest(out)
    assert check_leakage(manifest).status == "passed"
    assert check_manifest(out, manifest).status == "passed"
    return {s.object_id: s.split for s in manifest.shapes}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.lists(PART, min_size=1, max_size=3).map("/".join), st.integers(1, 4), min_size=1, max_size=7),
    st.integers(0, 3),
)
def test_what_is_prepared_never_leaks(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, int], seed: int
) -> None:
    """Random layouts, some files with the same content under other names, and as few as one."""
    folder = tmp_path_factory.mktemp("leak")
    for name, width in shapes.items():
        write(folder / "in", f"{name}.obj", width)
    split_of(folder / "in", folder / "out", seed)


@pytest.mark.parametrize(
    "layout", ["{0}.obj", "{0}/model.obj", "{0}/meshes/{0}.obj", "set/{0}/raw_model.obj", "c{0}/x{0}y/z{0}.obj"]
)
def test_the_seed_changes_the_split_in_every_layout(layout: str, tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "in", layout.format(f"n{number}k"), 1 + number)
    splits = [tuple(sorted(split_of(tmp_path / "in", tmp_path / f"out{seed}", seed).items())) for seed in range(3)]
    assert len(set(splits)) > 1


def test_equal_geometry_is_one_group_whatever_the_file_says(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / "in", f"s{number}.obj", 1 + number // 2)
        path = tmp_path / "in" / f"s{number}.obj"
        path.write_text(f"# {number}\n{path.read_text()}")
    split_of(tmp_path / "in", tmp_path / "out")
    groups = {s.object_id: s.group for s in read_manifest(tmp_path / "out").shapes}
    assert all(groups[f"s{n}"] == f"s{n}" == groups[f"s{n + 1}"] for n in range(0, 12, 2))
