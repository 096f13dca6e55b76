"""That avatar from the side, smiling: python -m examples.02_render"""

from zero1toa import Viewer, load_avatar
from zero1toa.media import write_image

viewer = Viewer.of(load_avatar("out/avatar"))
front = viewer.front()
for name, picture in {
    "front": viewer.picture(front),
    "left": viewer.picture(front + 40, expressions={"smile": 0.8}),
    "wink": viewer.picture(front - 15, expressions={"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.7}),
    "shout": viewer.picture(front, expressions={"jawOpen": 0.8, "browInnerUp": 0.5}),
}.items():
    write_image(f"out/{name}.png", picture, provenance=viewer.saved.provenance())
    print(f"out/{name}.png")
