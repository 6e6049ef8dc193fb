"""Which families of timm work as encoders? One training step with the smallest model of each, at its own size.

    python benchmarks/encoder_families.py [--choose] [--only FAMILY ...] [--docs]

Without options, each stored model makes a step, and ``benchmarks/results/encoder_families.json`` and the table in
``docs/encoders.md`` are rewritten. ``--choose`` first finds the smallest model of each module of timm (it takes
minutes, because each model is built, without weights). ``--docs`` writes only the table.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

import timm
import torch

from pix3d_onet.config import ModelConfig
from pix3d_onet.files import read_json, write_json, write_text
from pix3d_onet.learning.network.model import build_model
from pix3d_onet.learning.training.run import forward_cost
from pix3d_onet.learning.training.trainer import occupancy_loss

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "encoder_families.json"
DOCS = ROOT / "docs" / "encoders.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
PICTURES, POINTS = 2, 32


def smallest(family: str) -> tuple[str, int]:
    """The model of a timm module with the least parameters × pixels, and the side of its pictures."""
    found: list[tuple[float, str, int]] = []
    for name in timm.list_models(module=family):
        if name.startswith("test_"):
            continue
        with torch.device("meta"):
            backbone = timm.create_model(name, num_classes=0)
        side = int((backbone.pretrained_cfg.get("input_size") or (3, 224, 224))[-1])
        found.append((sum(p.numel() for p in backbone.parameters()) * side**2, name, side))
    _, name, side = min(found)
    return name, side


def train_step(name: str, side: int) -> dict[str, Any]:
    """One step on random pictures and labels; ``problem`` is empty where loss, gradients and weights are sound."""
    torch.manual_seed(0)
    config = ModelConfig(f"timm:{name}", c_dim=32, hidden_dim=32, blocks=1)
    row: dict[str, Any] = {"model": name, "image_size": side, "params": None, "gflops_image": None, "problem": ""}
    try:
        model = build_model(config).train()
        row["params"] = sum(p.numel() for p in model.encoder.backbone.parameters())  # type: ignore[union-attr]
        row["gflops_image"] = forward_cost(config, side).get("gflops_image")
        for norm in model.decoder.norms():  # they start at zero, and so would the gradient of the code
            torch.nn.init.normal_(norm.conv_gamma.weight, std=0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        images, points = torch.rand(PICTURES, 3, side, side), torch.rand(PICTURES, POINTS, 3) - 0.5
        loss = occupancy_loss(model(images, points), (torch.rand(PICTURES, POINTS) > 0.5).float())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        row["problem"] = _problem(model, loss)
    except Exception as error:  # noqa: BLE001 - what a model of somebody else's raises is the finding
        row["problem"] = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
    return row


def _problem(model: torch.nn.Module, loss: torch.Tensor) -> str:
    parameters = list(model.encoder.backbone.parameters())  # type: ignore[union-attr]
    if not bool(torch.isfinite(loss)):
        return "loss is not finite"
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        return "weights are not finite after the step"
    if not any(p.grad is not None and bool(p.grad.any()) for p in parameters):
        return "no gradient reaches the backbone"
    return ""


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    lines = [
        "| family | model | pixels | parameters | GFLOP per picture | one training step |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        flops = f"{row['gflops_image']:.3g}" if row["gflops_image"] else "not counted"
        params = f"{row['params'] / 1e6:.1f} M" if row["params"] else "–"
        lines.append(
            f"| {row['family']} | `{row['model']}` | {row['image_size']}² | {params} | {flops} | "
            f"{row['problem'] or 'works'} |"
        )
    return "\n".join(lines) + "\n"


def document(stored: dict[str, Any]) -> str:
    """``docs/encoders.md`` with the table of the stored rows."""
    head, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    return f"{head}{BEGIN}\n{table(stored['rows'])}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Choose, try, store, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--only", nargs="*", help="families to try again; the others keep their stored row")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    stored = read_json(RESULTS) if RESULTS.exists() else {"rows": []}
    rows = {row["family"]: row for row in stored["rows"]}
    if not options.docs:
        families = options.only or (timm.list_modules() if options.choose else list(rows))
        for family in families:
            name, side = smallest(family) if options.choose else (rows[family]["model"], rows[family]["image_size"])
            rows[family] = {"family": family, **train_step(name, side)}
            print(f"{family}: {name} at {side}²: {rows[family]['problem'] or 'works'}", flush=True)
            gc.collect()
            versions = {"timm": timm.__version__, "torch": str(torch.__version__)}
            write_json(RESULTS, {"versions": versions, "rows": [rows[key] for key in sorted(rows)]})
    write_text(DOCS, document(read_json(RESULTS)))


if __name__ == "__main__":
    main()
