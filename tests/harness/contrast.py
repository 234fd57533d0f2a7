"""How far colours stand apart, by WCAG 2."""


def parts_of(colour):
    """Red, green and blue of "#RRGGBB", 0 to 255."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def light(parts):
    """The relative luminance of an sRGB colour of these parts."""
    shares = (part / 255 for part in parts)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(*colours):
    """The ratio of the luminances of two colours, each given by its parts: 1 to 21."""
    lights = [light(parts) for parts in colours]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def seen_on(ground, colour):
    """The parts of "#RRGGBBAA" over a ground given by its parts."""
    opacity = int(colour[7:9] or "ff", 16) / 255
    return [opacity * part + (1 - opacity) * below for part, below in zip(parts_of(colour), ground, strict=True)]
