// The others in a room: a tile for each, seated so that they face each other, as the server's room messages say.

import { arrange } from "./seats.js";
import { ask } from "./session.js";
import { Tile } from "./tile.js";

const POLL_MS = 2000; // while no connection tells of the room

/**
 * Events: "changed" (members, or who is seen, have changed), "live" (a person has come into view), "sound" (of anybody),
 * "over" (the room is gone).
 */
export class Room extends EventTarget {
  #tiles = new Map(); // call -> Tile
  #steered = null; // the tile that the user touched last
  #poll = null;
  #open = false;
  #silence = false;
  #predicting = true;
  slug = null;
  size = null;
  members = [];

  /**
   * @param host element for the tiles
   * @param told function telling whether the caller's own connection is up, which brings room messages too
   * @param you function returning the own call; null for who only watches
   */
  constructor(host, told, you) {
    super();
    this.host = host;
    this.told = told;
    this.you = you;
    new ResizeObserver(() => this.#arrange()).observe(host);
  }

  /** The tiles in the order of their seats on this screen. */
  get tiles() {
    return [...this.#tiles.values()];
  }

  /** The tile that figures and keys are about. */
  get tile() {
    return this.#tiles.get(this.#steered) ?? this.tiles[0] ?? null;
  }

  /** Asks the server who is there. Throws SignallingError: 404 where there is no such room. */
  async look(slug) {
    const { size, members } = await (await ask(`/rooms/${encodeURIComponent(slug)}`)).json();
    this.take({ room: slug, size, members });
  }

  /** Who is there, as a room message says. */
  take({ room, size, members }) {
    Object.assign(this, { slug: room, size, members });
    this.#arrange();
    this.dispatchEvent(new Event("changed"));
  }

  get entered() {
    return this.#open;
  }

  /** Opens a connection to everybody, and goes on with whoever comes. */
  enter() {
    this.#open = true;
    this.#poll ??= setInterval(() => this.#ask(), POLL_MS);
    this.#arrange();
  }

  leave() {
    this.#open = false;
    clearInterval(this.#poll);
    this.#poll = null;
    for (const tile of this.tiles) tile.leave();
    this.#tiles.clear();
    this.members = [];
    this.dispatchEvent(new Event("changed"));
  }

  /** Ends the connections of a page that goes away. */
  abandon() {
    for (const { viewer } of this.tiles) viewer.leave();
  }

  /** "none", "blocked" (the browser plays none before the user does something), "off" or "playing": of all together. */
  get sound() {
    const found = this.tiles.map(({ viewer }) => viewer.sound);
    return ["blocked", "playing", "off"].find((sound) => found.includes(sound)) ?? "none";
  }

  set silence(on) {
    this.#silence = on;
    for (const { viewer } of this.tiles) viewer.silence = on;
  }

  set predicting(on) {
    this.#predicting = on;
    for (const { viewer } of this.tiles) viewer.predicting = on;
  }

  async #ask() {
    if (this.told() || this.tiles.some(({ viewer }) => viewer.connected)) return;
    try {
      await this.look(this.slug);
    } catch (error) {
      if (error.status === 404 && this.#open) this.dispatchEvent(new Event("over"));
    }
  }

  #arrange() {
    if (!this.#open) return;
    const { clientWidth: width, clientHeight: height } = this.host;
    const seats = arrange(this.members, this.you(), width || 1, height || 1);
    const calls = new Set(seats.map(({ call }) => call));
    for (const [call, tile] of this.#tiles) {
      if (calls.has(call)) continue;
      tile.leave();
      this.#tiles.delete(call);
    }
    // In the order of the seats, so that Tab goes from left to right.
    const before = this.#tiles;
    this.#tiles = new Map(seats.map(({ call }) => [call, before.get(call) ?? this.#seat(call)]));
    for (const seat of seats) this.#tiles.get(seat.call).sit(seat, seats.length === 1);
  }

  #seat(call) {
    const tile = new Tile(this.host, call, (tile) => this.#heeds(tile));
    tile.viewer.silence = this.#silence;
    tile.viewer.predicting = this.#predicting;
    tile.addEventListener("touched", () => (this.#steered = call));
    tile.addEventListener("room", ({ detail }) => !this.told() && this.take(detail));
    tile.addEventListener("live", () => this.dispatchEvent(new Event("live")));
    tile.addEventListener("sound", () => this.dispatchEvent(new Event("sound")));
    return tile;
  }

  /** Keys steer the focused tile, and the one that was steered last while nothing else has the focus. */
  #heeds(tile) {
    const focused = document.activeElement;
    if (this.host.checkVisibility?.({ visibilityProperty: true }) === false) return false;
    if (this.tiles.some(({ stage }) => stage === focused)) return tile.stage === focused;
    return (focused === document.body || !focused) && tile === this.tile;
  }
}
