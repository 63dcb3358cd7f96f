"""Set how hard the scenes are: all numbers that decide what each camera can see.

Temperatures are in kelvin above the air. Light is linear, with 1.0 about where the display is white. Distances are in
metres.
"""

from __future__ import annotations

from typing import Final

SPLIT_CODES: Final = {"train": 0, "val": 1}
SUPERSAMPLE: Final = 2
"""Scenes are drawn this many times larger, then area-averaged."""

# What a scene holds. Shares of one table sum to 1.
MOODS: Final = {"night": 0.56, "sun": 0.28, "overcast": 0.16}
NUM_OBJECTS: Final = (2, 6)
KINDS: Final = {
    "night": {
        "person_dark": 0.22,
        "person_lit": 0.23,
        "car_running": 0.08,
        "car_cold_lit": 0.17,
        "car_warm_dark": 0.30,
    },
    "sun": {"person_crossover": 0.50, "car_running": 0.28, "car_cold": 0.22},
    "overcast": {"person": 0.50, "car_running": 0.30, "car_cold": 0.20},
}
"""Which objects are drawn. ``dark``: seen by IR alone; ``cold`` and ``crossover``: by RGB alone; the rest: by both."""
NUM_DECOYS: Final = (0, 3)
DECOYS: Final = {
    "night": {"poster": 0.25, "mannequin": 0.30, "hot_box": 0.20, "hot_pipe": 0.20, "dog": 0.05},
    "sun": {"poster": 0.30, "hot_box": 0.30, "hot_pipe": 0.35, "dog": 0.05},
    "overcast": {"poster": 0.20, "mannequin": 0.25, "hot_box": 0.25, "hot_pipe": 0.25, "dog": 0.05},
}
"""Never labelled. No mannequins in the sun: at crossover even both cameras together cannot tell them from people."""

# Sizes: nearest and farthest ground distance of objects, and how much two of them may overlap.
PERSON_RANGE: Final = (6.4, 15.5)
CAR_RANGE: Final = (8.5, 17.0)
MAX_OVERLAP: Final = 0.35
"""Largest share of the smaller box that a second box may cover at planning."""

# Light.
FIRST_LAMP_ON: Final = 0.85
"""Probability that the nearest street lamp works."""
LAMPS_ON: Final = 0.25
"""Fraction of the street lamps between the first one and 32 m that work; elsewhere it is dark."""
LAMP_CONE: Final = (0.70, 0.90)
"""Cosines from straight down where a lamp's light ends and where it is full: how wide its pool is."""
DARK_BELOW: Final = 0.004
"""An object counts as in the dark where the lamps give less than this on the ground around it."""
LIT_ABOVE: Final = 0.16
NIGHT_SKY_LIGHT: Final = (0.0042, 0.0052, 0.0080)
NIGHT_NOISE: Final = 0.0034
"""Read noise of the RGB camera at night gain, linear."""
DAY_NOISE: Final = 0.0022
SHOT_NOISE: Final = 0.00035
"""Variance per unit of light: photon noise, at night twice as strong."""

# Heat.
IR_GREY_PER_KELVIN: Final = 0.024
IR_NOISE: Final = 0.012
"""White noise of the thermal camera as a share of full scale."""
IR_STRIPES: Final = 0.007
"""What the non-uniformity correction leaves: column offsets, as a share of full scale."""
IR_BLUR: Final = 0.55
"""Blur of the thermal lens, in pixels of a 256 px wide image."""
CAMOUFLAGE: Final = 0.045
"""Share of its own thermal pattern that a camouflaged object keeps; the rest is the temperature behind it."""
PERSON_HEAT: Final = {"night": 1.0, "overcast": 0.85, "sun": 0.9}

# Labels.
MIN_VISIBLE_SHARE: Final = 0.30
"""An object with a smaller share inside the image and not hidden has no label."""
RGB_VISIBLE: Final = 1.6
IR_VISIBLE: Final = 2.5
"""Least root-mean-square contrast, in standard deviations of the camera's noise, of an object that counts as seen."""
