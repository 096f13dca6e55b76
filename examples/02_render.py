"""That avatar from the side, smiling: python examples/02_render.py"""

from PIL import Image

from zero1toa import Viewer, load_avatar

viewer = Viewer.of(load_avatar("out/avatar"))
front = viewer.front()
for name, picture in {
    "front": viewer.picture(front),
    "left": viewer.picture(front + 40, expressions={"smile": 0.8}),
    "wink": viewer.picture(front - 15, expressions={"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.7}),
    "shout": viewer.picture(front, expressions={"jawOpen": 0.8, "browInnerUp": 0.5}),
}.items():
    Image.fromarray(picture).save(f"out/{name}.png")
    print(f"out/{name}.png")
