"""What of a page can be worked out of how it is drawn: contrast after WCAG 2.2 (1.4.3, 1.4.11), and the names that are read aloud."""

from __future__ import annotations

from typing import Any, Final

from selenium.webdriver import Chrome

_COLOURS: Final = """
const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
const parsed = new Map();
function rgba(text) {
  if (!parsed.has(text)) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    parsed.set(text, [r, g, b, a / 255]);
  }
  return parsed.get(text);
}
const over = ([r, g, b, a], under) => [r, g, b].map((one, at) => one * a + under[at] * (1 - a)).concat(1);
function ground(element) {
  if (!element) return [255, 255, 255, 1];
  return over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement));
}
function opacity(element) {
  return element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
}
function luminance(colour) {
  const [r, g, b] = colour.slice(0, 3).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}
"""
_CONTRAST: Final = """
const [selectors] = arguments;
const found = [], checked = {text: 0, graphics: 0};
function note(kind, what, colour, element, under, least) {
  const [r, g, b, a] = colour;
  const got = contrast(over([r, g, b, a * opacity(element)], under), under);
  checked[kind] += 1;
  if (got < least) found.push(`${kind} ${what}: ${got.toFixed(2)} < ${least}`);
}
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const words = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!words || !element.checkVisibility({visibilityProperty: true}) || element.closest('script, style, .hidden, noscript')) continue;
  const style = getComputedStyle(element), size = parseFloat(style.fontSize);
  const is_large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  note('text', `<${element.localName}.${element.className}> ${words.slice(0, 40)}`, rgba(style.color), element, ground(element), is_large ? 3 : 4.5);
}
for (const field of document.querySelectorAll('input'))
  note('text', 'placeholder', rgba(getComputedStyle(field, '::placeholder').color), field, ground(field), 4.5);
for (const [selector, property] of selectors)
  for (const element of document.querySelectorAll(selector))
    if (element.checkVisibility()) note('graphics', `${selector} ${property}`, rgba(getComputedStyle(element)[property]), element, ground(element.parentElement), 3);
const root = getComputedStyle(document.documentElement);
for (const name of ['--green', '--blue', '--amber', '--red', '--violet'])
  note('graphics', `line ${name}`, rgba(root.getPropertyValue(name).trim()), document.body, rgba(root.getPropertyValue('--card').trim()), 3);
return [[...new Set(found)], checked];
"""
_HEAT: Final = """
const [shares, done] = arguments;
const canvas = document.getElementById('heat'), under = ground(canvas.parentElement);
const EDGES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000], LEFT = 60;
const ROWS = {green: 0, amber: 8, red: 11}, OTHERS = 4;
const cells = Object.values(ROWS).flatMap((row) => shares.map((share) => [row, share]));
const counts = cells.map(([row, share]) => EDGES.concat(0).map((_, at) => 1000 * (at === row ? share : at === OTHERS ? 1 - share : 0)));
import('/ops/assets/charts.js').then(({heat}) => {
  heat(canvas, {times: cells.map((_, at) => at), series: {heat: counts}, edges_ms: EDGES});
  const drawn = canvas.getContext('2d'), scale = canvas.width / canvas.clientWidth;
  const shown = (x, y) => { const [r, g, b, a] = drawn.getImageData(x, y, 1, 1).data; return over([r, g, b, a / 255], under); };
  const [wide, high] = [(canvas.clientWidth - LEFT) / cells.length, canvas.height / scale / counts[0].length];
  const levels = cells.map(([row], at) => shown((LEFT + (at + 0.5) * wide) * scale, canvas.height - (row + 0.5) * high * scale));
  const words = drawn.getImageData(0, 0, (LEFT - 1) * scale, canvas.height), ink = [];
  for (let at = 0; at < words.data.length; at += 4) {
    const [r, g, b, a] = words.data.slice(at, at + 4);
    if (a) ink.push([contrast(over([r, g, b, a / 255], under), under), (at / 4) % words.width / scale]);
  }
  const of_hue = (_, hue) => [under, ...levels.slice(hue * shares.length, (hue + 1) * shares.length)];
  const hues = Object.keys(ROWS).map(of_hue).map((all) => ({
    steps: all.slice(1).map((one, at) => contrast(one, all[at])), strongest: contrast(all.at(-1), under),
  }));
  done({
    hues: Object.fromEntries(Object.keys(ROWS).map((name, at) => [name, hues[at]])),
    text: Math.max(...ink.map(([one]) => one)), text_ends: Math.max(...ink.map(([, x]) => x)),
  });
}, (error) => done({error: String(error)}));
"""
_NAMED_ROLES: Final = frozenset(
    "button link textbox searchbox checkbox combobox img image Canvas table dialog group region navigation summary DisclosureTriangle".split()
)


def low_contrasts(browser: Chrome, graphics: list[tuple[str, str]]) -> tuple[list[str], dict[str, int]]:
    """Visible text and graphics with less contrast than WCAG's level AA asks for, and how many of each were looked at.

    Args:
        graphics: of what (CSS selector) which colour (property) has to stand out from what is around it.
    """
    found, checked = browser.execute_script(_COLOURS + _CONTRAST, graphics)
    return found, checked


def heat_contrasts(browser: Chrome, shares: list[float]) -> dict[str, Any]:
    """Contrasts of the operations page's heat map as its pixels are, where cells of each colour have these shares.

    Returns:
        ``hues``: of each colour the contrast of each cell with the one before (of the first with the ground: ``steps``), and of
        the last with the ground (``strongest``); ``text``: of the labels beside them; ``text_ends``: where those end, in CSS pixels.
    """
    found: dict[str, Any] = browser.execute_async_script(_COLOURS + _HEAT, shares)
    assert "error" not in found, found
    return found


def unnamed(browser: Chrome) -> list[dict[str, Any]]:
    """What the browser tells screen readers of controls, pictures, tables and parts that have no name."""
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [one for one in nodes if not one["ignored"] and one.get("role", {}).get("value") in _NAMED_ROLES]
    assert len(named) > 20, "the tree is empty"
    return [one for one in named if not one.get("name", {}).get("value", "").strip()]
