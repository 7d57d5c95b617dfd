"""GLSL of the renderer: baking skin and eyes into textures, shading surfaces and hair.

Positions are in kit space. `noise` is a tiling 3D texture of four independent channels in 0..1
(mean 0.5).
"""

HARMONICS = """
vec3 irradiance(vec3 d) {  // light convolved with the cosine, divided by pi
    float x = d.x, y = d.y, z = d.z;
    vec3 low = L[0] * 0.282095 + (L[1] * y + L[2] * z + L[3] * x) * (0.488603 * 0.66667);
    vec3 high = (L[4] * x * y + L[5] * y * z + L[7] * x * z) * 1.092548
              + L[6] * (0.315392 * (3.0 * z * z - 1.0)) + L[8] * (0.546274 * (x * x - y * y));
    return max(low + high * 0.25, vec3(0.004));
}
"""

BAKE_VERTEX = """#version 330
in vec3 mean; in vec2 uv; out vec3 X; out vec2 T;
void main() { X = mean; T = uv; gl_Position = vec4(uv * 2.0 - 1.0, 0.0, 1.0); }
"""

# Colour in rgb (sRGB), relief in alpha (0.5 is level).
SKIN_FRAGMENT = """#version 330
uniform sampler3D noise; uniform sampler2D strokes; uniform float face;
uniform vec3 base, lips, brow, hair, cloth, offset;
uniform float melanin, redness, eye_shadow, freckles, mottle, pores, wrinkles;
uniform float stubble, scalp, makeup;
uniform float neckline, bare; uniform vec4 line;  // hairline: shift, temples, peak, nape
uniform float profile_z[9], profile_y[9];
in vec3 X; in vec2 T; out vec4 color;
vec4 N(float f) { return (texture(noise, X * f / 48.0 + offset) - 0.5) * 6.0; }
float spot(vec3 p, float s) { vec3 d = X - p; return exp(-dot(d, d) / (2.0 * s * s)); }
vec3 mirrored() { return vec3(abs(X.x), X.y, X.z); }
float spot2(vec3 p, float s) { vec3 d = mirrored() - p; return exp(-dot(d, d) / (2.0 * s * s)); }
float coverage(float softness) {
    float y = profile_y[8];
    if (X.z <= profile_z[0]) y = profile_y[0];
    for (int i = 0; i < 8; i++)
        if (X.z > profile_z[i] && X.z <= profile_z[i + 1]) {
            float t = (X.z - profile_z[i]) / (profile_z[i + 1] - profile_z[i]);
            y = mix(profile_y[i], profile_y[i + 1], t);
        }
    float side = abs(X.x);
    y += line.x - 0.06 * max(0.0, side - 3.0);
    if (X.z > 5.5) y += line.y * exp(-pow((side - 4.8) / 1.6, 2.0));
    if (X.z > 6.0) y -= line.z * exp(-pow(X.x / 1.3, 2.0));
    if (X.z < -3.0) y += line.w;
    float around = pow((X.z - 1.2) / 3.0, 2.0) + pow((X.y - 2.2) / 3.4, 2.0);
    float ear = side < 6.3 ? 1.0 : smoothstep(0.75, 1.25, around);
    return ear / (1.0 + exp(clamp(-(X.y - y) / softness, -30.0, 30.0)));
}
void main() {
    vec4 slow = N(0.35), mid = N(1.3), fine = N(6.0), pore = N(14.0);
    vec2 drawn = texture(strokes, T).rg * face;
    float dark = 1.2 - 0.6 * melanin;
    vec3 c = base * (1.0 + mottle * (0.025 * slow.x + 0.022 * mid.x + 0.02 * fine.x + 0.012 *
        pore.x));
    float red = 0.8 * spot(vec3(0.0, -0.2, 12.6), 1.3) + 0.8 * spot2(vec3(4.6, -0.6, 8.6), 2.0)
              + 0.5 * spot2(vec3(8.2, 2.5, 1.0), 2.2) + 0.3 * spot(vec3(0.0, 3.4, 9.8), 1.5)
              + 0.35 * spot(vec3(0.0, -6.8, 10.2), 1.2);
    red = clamp(red * redness * (1.0 + 0.25 * mid.y), 0.0, 1.2);
    c *= 1.0 - red * vec3(0.02, 0.13, 0.14) * dark;
    c *= 1.0 - clamp(max(mid.z - 0.6, 0.0) * 0.12 * mottle, 0.0, 0.3) * vec3(0.1, 0.35, 0.35);
    float socket = spot2(vec3(2.4, 2.3, 9.3), 0.8) + 0.7 * spot2(vec3(3.4, 2.6, 9.0), 0.8);
    socket = clamp(socket * eye_shadow, 0.0, 1.8);
    c *= 1.0 - socket * vec3(0.09, 0.13, 0.10);
    float lid = spot2(vec3(3.2, 4.2, 9.3), 0.7);
    c = mix(c, c * vec3(0.75, 0.55, 0.6), lid * makeup * 0.7);
    float speck = smoothstep(1.0, 1.8, N(3.6).z) * (0.4 + 0.6 * exp(-pow((X.y - 0.8) / 3.5, 2.0)));
    c *= 1.0 - speck * freckles * vec3(0.3, 0.45, 0.5);
    float mole = smoothstep(1.95, 2.2, N(1.6).w) * step(1.1, mottle) * 0.7;
    c = mix(c, c * vec3(0.55, 0.45, 0.42), mole);
    // Wrinkles: furrows of the forehead, crow's feet, the fold from nose to mouth.
    float forehead = face * smoothstep(5.6, 6.6, X.y) * smoothstep(10.0, 8.6, X.y)
                   * smoothstep(6.0, 3.5, abs(X.x));
    float furrow = pow(0.5 + 0.5 * cos(X.y * 5.2 + slow.y * 1.6 + 0.06 * X.x * X.x), 6.0);
    furrow *= forehead;
    vec3 m = mirrored();
    vec2 eye = m.xy - vec2(4.3, 3.2);
    float feet = pow(0.5 + 0.5 * cos(atan(eye.y, eye.x) * 13.0 + mid.w), 4.0)
               * smoothstep(0.5, 0.9, length(eye)) * smoothstep(2.0, 1.0, length(eye))
               * step(0.0, eye.x);
    float along = clamp((0.2 - X.y) / 4.2, 0.0, 1.0);
    float fold = exp(-pow((m.x - 1.75 - 1.7 * along - 0.25 * sin(along * 3.1)) / 0.16, 2.0))
               * smoothstep(0.3, -0.6, X.y) * smoothstep(-4.6, -3.4, X.y) * step(6.0, X.z);
    float neck = pow(0.5 + 0.5 * cos(X.y * 3.1 + slow.z * 1.5), 8.0)
               * smoothstep(-9.0, -10.0, X.y) * step(0.0, X.z);
    float crease = wrinkles * (furrow * 0.7 + feet * 0.6 * face + fold * 0.8 * face + neck * 0.5);
    c *= 1.0 - crease * vec3(0.12, 0.17, 0.17);
    float relief = 0.5 + pores * (0.05 * pore.y + 0.035 * fine.y) - crease * 0.35 + 0.03 * mid.y;
    // Beard stubble, then lips over it.
    float side = abs(X.x);
    float cheek = -2.0 + 0.28 * pow(max(0.0, side - 3.2), 1.5);
    float beard = 1.0 / (1.0 + exp(clamp((X.y - cheek) / 0.4, -30.0, 30.0)));
    beard *= (1.0 - drawn.r) * step(0.5, X.z) * smoothstep(-11.0, -8.5, X.y);
    float grain = clamp(0.6 + 0.22 * pore.z + 0.2 * fine.z, 0.0, 1.0);
    c = mix(c, sqrt(hair) * 0.6, clamp(stubble * 1.1 * beard * grain, 0.0, 0.85));
    float lines = pow(0.5 + 0.5 * cos(X.x * 16.0 + 2.5 * mid.y), 3.0);
    vec3 lip = lips * (1.0 + 0.04 * fine.w - 0.12 * lines);
    c = mix(c, lip, drawn.r * 0.85);
    relief = mix(relief, 0.5 - 0.12 * lines + 0.04 * fine.w, drawn.r);
    c = mix(c, brow, drawn.g);
    // Painted hair roots: a soft edge broken up by noise.
    float grown = coverage(0.28 + 0.1 * abs(mid.x)) * (0.82 + 0.1 * fine.z + 0.08 * pore.w);
    float sparse = 0.25 * coverage(1.1) * smoothstep(0.3, 1.4, fine.y + 0.6 * pore.z);
    grown = clamp(grown + sparse, 0.0, 1.0);
    c = mix(c, sqrt(hair) * (0.72 + 0.06 * pore.x), grown * scalp);
    float worn = (1.0 - bare) / (1.0 + exp(clamp((X.y - neckline) / 0.07, -30.0, 30.0)));
    c = mix(c, cloth, worn);
    relief = mix(relief, 0.5, worn);
    color = vec4(clamp(c, 0.0, 1.0), clamp(relief, 0.0, 1.0));
}
"""

EYE_FRAGMENT = """#version 330
uniform sampler3D noise; uniform vec3 center, iris, offset; in vec3 X; in vec2 T; out vec4 color;
void main() {
    vec3 q = normalize(X - center);
    float a = acos(clamp(q.z, -1.0, 1.0)), t = atan(q.y, q.x), r = a / 0.46;
    vec4 n = texture(noise, X * 3.0 / 48.0 + offset) - 0.5;
    vec3 c = vec3(0.88, 0.85, 0.83) * (1.0 - 0.20 * clamp((a - 0.5) / 0.9, 0.0, 1.0) * vec3(0.3,
        1.0, 1.0));
    float vein = smoothstep(0.035, 0.0, abs(n.x)) * smoothstep(0.6, 1.1, a);
    c *= 1.0 - 0.18 * vein * vec3(0.1, 1.0, 1.0);
    float fibre = clamp(0.75 + 0.17 * sin(t * 37.0 + 3.0 * sin(t * 5.0)) + 0.2 * sin(t * 91.0) +
        n.y, 0.3, 1.4);
    vec3 i = iris * fibre * (1.15 - 0.5 * r * r * r) * (1.0 + 0.4 * exp(-pow((r - 0.5) / 0.12,
        2.0)));
    c = mix(c, i, 1.0 / (1.0 + exp((r - 1.0) / 0.035)));
    c = mix(c, vec3(0.01), 1.0 / (1.0 + exp((r - 0.36) / 0.03)));
    color = vec4(clamp(c, 0.0, 1.0), 0.5);
}
"""

SURFACE_VERTEX = """#version 330
uniform mat4 clip; uniform vec3 L[9];
in vec3 position, normal; in vec2 uv; in vec3 t0, t1, t2;
out vec3 X, N, I; out vec2 T;
void main() {
    X = position; N = normal; T = uv;
    I = L[0] * t0.x + L[1] * t0.y + L[2] * t0.z + L[3] * t1.x + L[4] * t1.y + L[5] * t1.z
      + L[6] * t2.x + L[7] * t2.y + L[8] * t2.z;
    gl_Position = clip * vec4(position, 1.0);
}
"""

# `I` carries the light with shadows per vertex; relief and highlights are added per pixel.
SURFACE_FRAGMENT = (
    """#version 330
uniform sampler2D albedo; uniform vec3 L[9]; uniform vec3 eye, key, key_color;
uniform float gloss, wet, skin, relief, lash;
in vec3 X, N, I; in vec2 T; out vec4 color;
"""
    + HARMONICS
    + """
void main() {
    if (lash > 0.0) {  // cards of hairs: keep thin stripes that taper towards the tip
        // Three cards lie over each other on each lid: the upper ones first, then the lower ones.
        float card = floor((0.995 - T.y) / 0.166), row = mod(0.995 - T.y, 0.166) / 0.155;
        bool lower = card > 2.5;
        if (lower) row *= 1.7;
        float bend = row * 0.4 * sin(T.x * 40.0);
        float stripe = abs(fract(T.x * 52.0 + card * 0.37 + bend) - 0.5) * 2.0;
        if (row > 1.0 || stripe > (0.5 - 0.45 * row) * lash * (lower ? 0.55 : 1.0)) discard;
    }
    vec4 texel = texture(albedo, T);
    vec3 a = pow(texel.rgb, vec3(2.2)), n = normalize(N), v = normalize(eye - X), d = n;
    vec3 shadowed = max(I, vec3(0.0)), open = irradiance(n);
    if (relief > 0.0) {  // bump mapping by screen derivatives (Mikkelsen 2010)
        vec3 px = dFdx(X), py = dFdy(X), r1 = cross(py, n), r2 = cross(n, px);
        float h = texel.a * relief, det = dot(px, r1);
        d = normalize(abs(det) * n - sign(det) * (dFdx(h) * r1 + dFdy(h) * r2));
        shadowed *= irradiance(d) / open;
    }
    float level = dot(shadowed, vec3(0.33));
    // Light that has wandered through skin reddens the edge of a shadow.
    shadowed *= 1.0 + skin * vec3(0.10, -0.01, -0.04) * exp(-pow((level - 0.25) / 0.18, 2.0));
    float lit = clamp(level / max(dot(open, vec3(0.33)), 0.02), 0.0, 1.0);
    float power = mix(mix(24.0, 14.0, skin), 260.0, wet);
    // The cornea bulges, unlike the eyeball's mesh: it mirrors the key light nearer its middle.
    float toward = max(dot(d, normalize(v + normalize(mix(key, v, 0.5 * wet)))), 0.0);
    float highlight = mix(pow(toward, power), smoothstep(0.991, 0.996, toward) * 0.5, wet);
    lit = mix(lit, 1.0, 0.6 * wet);  // lids darken the eye but hardly dim what it mirrors
    float rim = pow(1.0 - max(dot(n, v), 0.0), 4.0);
    vec3 c = a * shadowed + key_color * lit * highlight * gloss * (0.22 + 2.2 * wet)
           + rim * 0.06 * shadowed * (1.0 - wet);
    color = vec4(pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
}
"""
)

# After Kajiya and Kay (1989), with occlusion that grows towards the scalp. Shaded per vertex:
# strands are thin, and shading per fragment would cost several times as much and look the same.
HAIR_VERTEX = (
    """#version 330
uniform mat4 clip; uniform vec3 L[9]; uniform vec3 eye, key, key_color, albedo;
in vec3 position, tangent; in vec3 strand;  // shade, depth, along
out vec3 shaded;
"""
    + HARMONICS
    + """
void main() {
    gl_Position = clip * vec4(position, 1.0);
    vec3 t = normalize(tangent), v = normalize(eye - position), away = normalize(position -
        vec3(0.0, 2.0, 0.5));
    vec3 n = normalize(away - 0.8 * t * dot(away, t));
    float ct = dot(t, key), st = sqrt(max(1.0 - ct * ct, 0.0));
    float cv = dot(t, v), sv = sqrt(max(1.0 - cv * cv, 0.0));
    float toward = 0.5 + 0.5 * dot(n, key);
    float shine = pow(max(st * sv - ct * cv, 0.0), 36.0);
    float inner = mix(0.38, 1.0, clamp(strand.y * 0.75 + strand.z * 0.35, 0.0, 1.0));
    inner *= mix(0.6, 1.0, smoothstep(-16.0, -3.0, position.y + 0.5 * abs(position.x) - 0.5 *
        position.z));
    vec3 a = albedo * (0.6 + 0.8 * strand.x);
    vec3 c = a * irradiance(n) * (0.7 + 0.6 * st) * inner
           + key_color * shine * toward * toward * inner * 0.24 * mix(vec3(1.0), a * 3.0, 0.5);
    shaded = pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2));
}
"""
)
HAIR_FRAGMENT = """#version 330
in vec3 shaded; out vec4 color; void main() { color = vec4(shaded, 1.0); }
"""

DEPTH_VERTEX = """#version 330
uniform mat4 clip; in vec3 position; void main() { gl_Position = clip * vec4(position, 1.0); }
"""
DEPTH_FRAGMENT = """#version 330
void main() {}
"""
