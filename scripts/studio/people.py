"""Who sits in the studio: shape, skin, eyes, hair, clothes, light."""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.studio.hair import Style
from scripts.studio.light import Lamp, Setup

SOFT = Setup(
    lamps=(
        Lamp((-0.65, 0.55, 0.9), 9, (4.6, 4.3, 3.9)),
        Lamp((0.9, 0.15, 0.7), 4, (0.62, 0.68, 0.78)),
        Lamp((0.75, 0.45, -0.75), 14, (3.2, 3.2, 3.4)),
    ),
    floor=(0.16, 0.15, 0.14), ceiling=(0.36, 0.38, 0.42),
)  # fmt: skip
WARM = Setup(
    lamps=(
        Lamp((0.7, 0.5, 0.85), 8, (4.6, 4.1, 3.4)),
        Lamp((-0.9, 0.1, 0.6), 4, (0.55, 0.62, 0.75)),
        Lamp((-0.8, 0.5, -0.7), 14, (3.2, 3.0, 2.7)),
    ),
    floor=(0.15, 0.13, 0.11), ceiling=(0.38, 0.37, 0.36),
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One sitter. Shape coefficients as in Anny's first rows: gender (male > 0), child, old, weight, muscle, ancestry."""

    name: str
    seed: int
    gender: float
    old: float = 0.0
    child: float = 0.0
    weight: float = 0.0
    muscle: float = 0.0
    african: float = 0.0
    asian: float = 0.0
    caucasian: float = 0.0
    melanin: float = 0.2
    blood: float = 0.28
    freckles: float = 0.0
    stubble: float = 0.0
    beard: float = 0.0
    lips: float = 0.5
    iris: tuple[float, float, float] = (0.25, 0.13, 0.06)
    hair: Style = field(default_factory=Style)
    brow: float = 1.0
    cloth: tuple[float, float, float] = (0.2, 0.25, 0.3)
    neckline: float = 0.0
    background: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.55, 0.56, 0.58), (0.28, 0.29, 0.31))
    setup: Setup = SOFT
    expression: dict[str, float] = field(default_factory=dict)
    turn: tuple[float, float, float] = (0.0, 0.1, 0.0)
    yaw: float = 0.0


PEOPLE = (
    Person(
        "maya",
        3,
        gender=-0.95,
        caucasian=0.6,
        melanin=0.20,
        blood=0.32,
        freckles=0.5,
        lips=0.75,
        iris=(0.16, 0.24, 0.20),
        hair=Style(
            length=0.185,
            strands=34000,
            color=(0.10, 0.050, 0.025),
            part=0.018,
            comb=(0, 0, -0.35),
            gravity=0.55,
            combed=0.4,
            thickness=0.016,
            lift=0.15,
            clump=0.72,
            guides=420,
            curl=0.003,
            curl_width=0.028,
            ends=0.2,
        ),
        brow=0.8,
        cloth=(0.16, 0.23, 0.26),
        neckline=0.012,
        expression={"mouthSmileLeft": 0.55, "mouthSmileRight": 0.5, "cheekSquintLeft": 0.2, "cheekSquintRight": 0.2},
        turn=(0.0, 0.14, -0.04),
    ),
    Person(
        "daniel",
        8,
        gender=0.95,
        caucasian=0.6,
        old=0.12,
        muscle=0.3,
        melanin=0.27,
        blood=0.30,
        stubble=0.6,
        lips=0.35,
        iris=(0.20, 0.28, 0.36),
        hair=Style(
            length=0.05,
            strands=26000,
            color=(0.045, 0.027, 0.016),
            comb=(0.45, 0.1, -0.75),
            gravity=0.12,
            sides=0.25,
            thickness=0.011,
            lift=0.24,
            clump=0.6,
            guides=700,
            ends=0.3,
        ),
        brow=1.25,
        cloth=(0.09, 0.10, 0.13),
        expression={"mouthSmileLeft": 0.3, "mouthSmileRight": 0.36},
        turn=(0.02, -0.16, 0.0),
        background=((0.46, 0.50, 0.55), (0.20, 0.22, 0.26)),
        setup=WARM,
    ),
    Person(
        "amara",
        5,
        gender=-1.1,
        african=0.9,
        melanin=1.35,
        blood=0.30,
        lips=0.6,
        iris=(0.06, 0.03, 0.018),
        hair=Style(
            length=0.052,
            strands=42000,
            color=(0.012, 0.009, 0.008),
            comb=(0, 0.2, -0.2),
            gravity=0.0,
            lift=0.92,
            thickness=0.02,
            clump=0.85,
            guides=1500,
            curl=0.0035,
            curl_width=0.0045,
            ends=0.25,
            sides=0.85,
        ),
        brow=1.0,
        cloth=(0.55, 0.33, 0.10),
        expression={"mouthSmileLeft": 0.62, "mouthSmileRight": 0.62, "cheekSquintLeft": 0.25, "cheekSquintRight": 0.25},
        turn=(0.0, 0.1, 0.05),
        background=((0.60, 0.55, 0.48), (0.33, 0.28, 0.24)),
    ),
    Person(
        "kenji",
        35,
        gender=1.0,
        asian=0.75,
        old=0.15,
        muscle=0.25,
        melanin=0.36,
        blood=0.22,
        stubble=0.3,
        lips=0.35,
        iris=(0.07, 0.035, 0.02),
        hair=Style(
            length=0.075,
            strands=30000,
            color=(0.011, 0.010, 0.010),
            part=-0.028,
            comb=(0, 0, 0.15),
            gravity=0.22,
            sides=0.35,
            thickness=0.016,
            lift=0.5,
            clump=0.75,
            guides=520,
            ends=0.3,
        ),
        brow=1.15,
        cloth=(0.62, 0.62, 0.60),
        turn=(0.0, 0.2, 0.0),
        background=((0.50, 0.52, 0.50), (0.25, 0.27, 0.26)),
        setup=WARM,
        expression={"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3},
    ),
    Person(
        "ruth",
        21,
        gender=-0.8,
        old=1.15,
        weight=0.15,
        caucasian=0.5,
        melanin=0.2,
        blood=0.34,
        freckles=0.3,
        lips=0.45,
        iris=(0.22, 0.30, 0.38),
        hair=Style(
            length=0.10,
            strands=32000,
            color=(0.24, 0.235, 0.23),
            part=0.03,
            comb=(0, 0, -0.3),
            gravity=0.25,
            grey=0.12,
            thickness=0.022,
            lift=0.45,
            clump=0.7,
            guides=520,
            curl=0.004,
            curl_width=0.016,
            sides=0.9,
        ),
        brow=0.6,
        cloth=(0.30, 0.12, 0.16),
        neckline=0.008,
        expression={"mouthSmileLeft": 0.6, "mouthSmileRight": 0.55, "cheekSquintLeft": 0.3, "cheekSquintRight": 0.3},
        turn=(0.02, -0.12, 0.03),
        background=((0.58, 0.57, 0.60), (0.30, 0.29, 0.33)),
    ),
    Person(
        "omar",
        14,
        gender=0.9,
        african=0.35,
        caucasian=0.2,
        muscle=0.1,
        weight=0.2,
        melanin=0.75,
        blood=0.28,
        stubble=0.4,
        beard=1.0,
        lips=0.35,
        iris=(0.10, 0.05, 0.025),
        hair=Style(
            length=0.03,
            strands=30000,
            color=(0.014, 0.011, 0.010),
            comb=(0, 0.2, -0.6),
            gravity=0.0,
            sides=0.4,
            lift=0.6,
            thickness=0.012,
            clump=0.7,
            guides=1600,
            curl=0.0018,
            curl_width=0.005,
            ends=0.3,
        ),
        brow=1.3,
        cloth=(0.20, 0.27, 0.20),
        turn=(0.0, 0.06, 0.0),
        background=((0.52, 0.50, 0.47), (0.26, 0.25, 0.24)),
        expression={"mouthSmileLeft": 0.35, "mouthSmileRight": 0.4},
    ),
)
