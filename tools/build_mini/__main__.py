"""Build the shipped mini backbone from public weights: a small dual encoder in open_clip's own format.

    for stage in clipart words text views unpack photographs; do
        python tools/build_mini $stage PACKAGES WORK
    done
    for seed in 0 1; do
        python tools/build_mini image PACKAGES WORK --seed $seed
        python tools/build_mini sketch PACKAGES WORK --seed $seed
    done
    python tools/build_mini export PACKAGES WORK neglab/assets/mini

PACKAGES holds what tools/build_emoji/drawings.py names, and the downloads of sources.py; WORK is what drawings.py
wrote. Python: neglab's own environment and resvg-py. Every stage is seeded (--seed) and leaves a file; text, image and
sketch go on from their last checkpoint when they are started again.

clipart      renders Openclipart
words        gives every name and word its place: the sentence encoder's, turned to 256 directions
text         distils the sentence encoder into a causal text tower with CLIP's tokenizer
views        runs the classifier's frozen first blocks over all drawings, once per view
unpack       takes the photographs out of Debian's packages
photographs  the same for unnamed photographs, with what the classifier says of them
image        trains its last blocks, and a prototype for each drawn thing beside ImageNet's 1,000 classes
sketch       trains a small trunk on drawings alone
export       writes the folder that open_clip reads, of all runs of image and sketch
"""

import argparse
from importlib import import_module
from pathlib import Path

MODULES = {"words": "space"}
STEPS = {"text": 600, "image": 1600, "sketch": 3500}
BATCH = {"text": 768, "image": 128, "sketch": 288}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = ("clipart", "words", "text", "views", "unpack", "photographs", "image", "sketch", "export")
    parser.add_argument("stage", choices=stages)
    parser.add_argument("packages", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("output", type=Path, nargs="?", help="of export")
    parser.add_argument("--views", type=int, default=8, help="of each drawing")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    stage = options.stage
    if stage == "export" and options.output is None:
        parser.error("export needs the folder to write")
    steps, batch = options.steps or STEPS.get(stage), options.batch or BATCH.get(stage)
    more = {
        "text": (steps, batch, options.seed),
        "views": (options.views, options.seed),
        "photographs": (options.seed,),
        "image": (options.views, steps, batch, options.seed),
        "sketch": (steps, batch, options.seed),
        "export": (options.output,),
    }
    import_module(MODULES.get(stage, stage)).build(options.packages, options.work, *more.get(stage, ()))


if __name__ == "__main__":
    main()
