import { expect, test } from "vitest";
import { filterModels, markedIn, mergeModels, pickModel, readCapabilities, readLoaded, readTags, type DeviceModels } from "./models";

const model = (name: string) => ({ name, details: "", isCloud: false });
const device = (name: string, models: string[] | null, loaded: string[] = [], isOnline = true): DeviceModels => ({ device: name, isOnline, models: models && models.map(model), loaded, error: null });
const all = mergeModels([device("desk", ["a:1", "b:1"], ["b:1"]), device("attic", null, [], false)], { attic: ["c:1"], gone: ["d:1"] });

test("each model has its device and its state, loaded ones first", () => {
  expect(all.map(({ device, name, state }) => `${device} ${name} ${state}`)).toEqual([
    "desk b:1 loaded",
    "desk a:1 on disk",
    "attic c:1 device offline",
    "gone d:1 device offline",
  ]);
});

test("the one used last is chosen if it can answer, else one that is ready", () => {
  expect(pickModel(all, { device: "desk", model: "a:1" })).toEqual({ device: "desk", model: "a:1" });
  expect(pickModel(all, { device: "attic", model: "c:1" })).toEqual({ device: "desk", model: "b:1" });
  expect(pickModel([], null)).toBeNull();
});

test("every word of a search is looked for in name and device", () => {
  expect(filterModels(all, "DESK b").map(({ name }) => name)).toEqual(["b:1"]);
  expect(filterModels(all, " ").length).toBe(4);
});

test("what a device says is read, and what is no model is not", () => {
  const tags = { models: [{ name: "a:1", details: { parameter_size: "3B", quantization_level: "Q4" } }, { name: 5 }, null, { model: "x:cloud" }] };
  expect(readTags(tags)).toEqual([
    { name: "a:1", details: "3B · Q4", isCloud: false },
    { name: "x:cloud", details: "", isCloud: true },
  ]);
  for (const nothing of [null, "x", {}, { models: "x" }]) expect(readTags(nothing)).toEqual([]);
  expect(readLoaded({ models: [{ name: "a:1" }, {}] })).toEqual(["a:1"]);
  expect(readCapabilities({ capabilities: ["vision", 1] })).toEqual(["vision"]);
  expect(readCapabilities({})).toBeNull();
});

test("the marked model is found wherever the list has moved it; else the first is", () => {
  expect(markedIn(all, { device: "desk", model: "a:1" })).toBe(1);
  expect(markedIn(all.slice(1), { device: "desk", model: "a:1" })).toBe(0);
  expect(markedIn(all, { device: "attic", model: "a:1" })).toBe(0);
  expect(markedIn(all, null)).toBe(0);
  expect(markedIn([], { device: "desk", model: "a:1" })).toBe(-1);
});
