"""Render a person's scene with Cycles: runs in a Python that has `bpy`, not in the project's own.

Nothing but numpy and bpy is imported, since bpy brings an old numpy and a gigabyte of files, and
wants an environment for itself. `training.people.path_traced` starts this file and talks to it by
lines of JSON: {"scene": npz, "out": folder, "views": [[18 numbers], ...], "size": pixels,
"samples": per pixel,
"threads": 0 for all}. For each line it writes OUT/0.png, OUT/1.png, ... (sRGB, alpha not
premultiplied) and answers with a line "done".

A scene holds `kinds` [P], and for each part k `part{k}_positions` [N, 3] (kit space: centimetres, y
up, z out of the face), `_triangles` [T, 3], `_uv` [N, 2] and `_texture` uint8 [H, W, 4] (sRGB and
relief; alpha for lashes; first row at the bottom). Also `hair_points` [S, K, 3] and `hair_color`
[S, 3] (linear), and the light: `radiance` [9, 3] in spherical harmonics, and direction `key` and
irradiance `key_color` of a lamp. `origin` is that of head space.
"""

import contextlib
import json
import math
import os
import sys
import tempfile

import bpy
import numpy as np

SKY = (32, 64)
LAMP = math.radians(25)
"""Angular size of the key light."""
# kind: roughness, subsurface, coat, relief in centimetres
SURFACES = {
    "skin": (0.5, 1.0, 0.0, 0.05),
    "gums": (0.3, 0.5, 0.3, 0.0),
    "teeth": (0.25, 0.3, 0.3, 0.0),
    "eye": (0.25, 0.1, 1.0, 0.0),
    "lashes": (0.6, 0.0, 0.0, 0.0),
    "cloth": (0.9, 0.0, 0.0, 0.0),
    "worn": (0.3, 0.0, 0.3, 0.0),
}
SCATTERING = (0.35, 0.12, 0.06)
"""Mean free path of red, green and blue light in skin, centimetres."""
HAIR_RADIUS = 0.03
"""Centimetres: thick, since there are ten thousand strands where people have a hundred."""


def harmonics(d):
    """Real spherical harmonics up to degree 2 of unit vectors [..., 3] -> [..., 9]."""
    x, y, z = np.moveaxis(d, -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x,
            1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    )  # fmt: skip


def image(name, pixels, colors="sRGB"):
    """A Blender image of an array [H, W, 4] of floats, first row at the bottom."""
    height, width = pixels.shape[:2]
    made = bpy.data.images.new(name, width, height, alpha=True, float_buffer=colors != "sRGB")
    made.colorspace_settings.name = colors
    made.alpha_mode = "CHANNEL_PACKED"
    made.pixels.foreach_set(np.ascontiguousarray(pixels, np.float32).ravel())
    made.pack() if colors == "sRGB" else made.update()
    return made


def node(tree, kind, **values):
    made = tree.nodes.new(kind)
    for name, value in values.items():
        if name in made.inputs:
            made.inputs[name].default_value = value
        else:
            setattr(made, name, value)
    return made


def material(kind, texture):
    roughness, subsurface, coat, relief = SURFACES[kind]
    made = bpy.data.materials.new(kind)
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader = node(tree, "ShaderNodeBsdfPrincipled")
    for name, value in {
        "Roughness": roughness,
        "Subsurface Weight": subsurface,
        "Subsurface Radius": SCATTERING,
        "Subsurface Scale": 1.0,
        "Coat Weight": coat,
        "Coat Roughness": 0.03,
        "Specular IOR Level": 0.3,
        "Sheen Weight": 0.3 if kind == "cloth" else 0.0,
    }.items():
        shader.inputs[name].default_value = value
    picture = node(tree, "ShaderNodeTexImage", image=image(kind, texture / 255.0))
    tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
    if kind == "lashes":
        tree.links.new(picture.outputs["Alpha"], shader.inputs["Alpha"])
    elif relief:
        bump = node(tree, "ShaderNodeBump", Strength=0.6, Distance=relief)
        tree.links.new(picture.outputs["Alpha"], bump.inputs["Height"])
        tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    output = node(tree, "ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    return made


def add_mesh(kind, positions, triangles, uv, texture):
    mesh = bpy.data.meshes.new(kind)
    mesh.from_pydata(positions.tolist(), [], triangles.tolist())
    layer = mesh.uv_layers.new()
    layer.data.foreach_set("uv", np.ascontiguousarray(uv[triangles.ravel()]).ravel())
    mesh.shade_smooth()
    mesh.materials.append(material(kind, texture))
    bpy.context.collection.objects.link(bpy.data.objects.new(kind, mesh))


def add_hair(points, color):
    curves = bpy.data.hair_curves.new("hair")
    count, length, _ = points.shape
    curves.add_curves([length] * count)
    curves.attributes["position"].data.foreach_set("vector", points.ravel())
    radius = curves.attributes.new("radius", "FLOAT", "POINT")
    taper = HAIR_RADIUS * (1 - 0.6 * np.linspace(0, 1, length, dtype=np.float32))
    radius.data.foreach_set("value", np.tile(taper, count))
    rgba = np.concatenate([np.clip(color, 0, 1), np.ones((count, 1), np.float32)], 1)
    shade = curves.attributes.new("shade", "FLOAT_COLOR", "CURVE")
    shade.data.foreach_set("color", np.ascontiguousarray(rgba, np.float32).ravel())
    made = bpy.data.materials.new("hair")
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader = node(tree, "ShaderNodeBsdfHairPrincipled", parametrization="COLOR")
    shader.inputs["Roughness"].default_value = 0.35
    shader.inputs["Radial Roughness"].default_value = 0.6
    source = node(tree, "ShaderNodeAttribute", attribute_name="shade")
    tree.links.new(source.outputs["Color"], shader.inputs["Color"])
    output = node(tree, "ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    curves.materials.append(made)
    bpy.context.collection.objects.link(bpy.data.objects.new("hair", curves))


def add_light(radiance, key, key_color):
    height, width = SKY
    elevation = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    azimuth = (0.5 - (np.arange(width) + 0.5) / width) * 2 * np.pi
    azimuth, elevation = np.meshgrid(azimuth, elevation)
    level = np.cos(elevation)
    directions = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], -1)
    sky = np.maximum(harmonics(directions) @ radiance, 0)
    sky = np.concatenate([sky, np.ones((height, width, 1))], -1)
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    picture = node(tree, "ShaderNodeTexEnvironment", image=image("sky", sky, "Non-Color"))
    back = node(tree, "ShaderNodeBackground")
    tree.links.new(picture.outputs["Color"], back.inputs["Color"])
    output = node(tree, "ShaderNodeOutputWorld")
    tree.links.new(back.outputs[0], output.inputs["Surface"])
    lamp = bpy.data.lights.new("key", "SUN")
    lamp.energy, lamp.color, lamp.angle = 1.0, key_color.tolist(), LAMP
    made = bpy.data.objects.new("key", lamp)
    made.matrix_world = aimed(key)
    bpy.context.collection.objects.link(made)


def aimed(towards):
    """A rotation [4, 4] whose z axis is `towards`, as Blender wants it."""
    from mathutils import Matrix

    z = towards / np.linalg.norm(towards)
    helper = np.array([0.0, 1, 0]) if abs(z[1]) < 0.9 else np.array([1.0, 0, 0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    return Matrix(matrix.tolist())


def set_up(size, samples, threads):
    scene = bpy.context.scene
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_denoising = "CPU", samples, True
    cycles.max_bounces = 4
    scene.cycles_curves.shape = "RIBBONS"
    render = scene.render
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_persistent_data = True  # between the views nothing but the camera moves
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"
    camera = bpy.data.cameras.new("camera")
    camera.clip_start, camera.clip_end = 1.0, 1000.0
    scene.camera = bpy.data.objects.new("camera", camera)
    bpy.context.collection.objects.link(scene.camera)


def place_camera(row, origin):
    """A view of head space (metres, y down, z away) as a camera in kit space (centimetres)."""
    from mathutils import Matrix

    head_from_kit = np.diag([0.01, -0.01, -0.01, 1.0])
    head_from_kit[:3, 3] = -head_from_kit[:3, :3] @ origin
    to_camera = np.diag([100.0, 100, 100, 1]) @ np.reshape(row[:16], (4, 4)) @ head_from_kit
    pose = np.linalg.inv(to_camera) @ np.diag([1.0, -1, -1, 1])
    camera = bpy.context.scene.camera
    camera.matrix_world = Matrix(pose.tolist())
    camera.data.angle = 2 * math.atan(0.5 / row[17])


def render(job):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = np.load(job["scene"])
    for index, kind in enumerate(scene["kinds"]):
        parts = ("positions", "triangles", "uv", "texture")
        add_mesh(str(kind), *(scene[f"part{index}_{part}"] for part in parts))
    if "hair_points" in scene:
        add_hair(scene["hair_points"], scene["hair_color"])
    add_light(scene["radiance"], scene["key"], scene["key_color"])
    set_up(job["size"], job["samples"], job["threads"])
    for index, row in enumerate(job["views"]):
        place_camera(row, scene["origin"])
        bpy.context.scene.render.filepath = os.path.join(job["out"], f"{index}.png")
        bpy.ops.render.render(write_still=True)


@contextlib.contextmanager
def answers():
    """A file that leads to the parent, while what Blender prints goes to the log."""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        yield answer


if __name__ == "__main__":
    with answers() as parent:
        for line in sys.stdin:
            render(json.loads(line))
            print("done", file=parent)
