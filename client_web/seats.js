// Who sits where on the screen, and which way they face. No DOM, no clock.
//
// Everybody sits on a ring, in the order of the room's members. On each screen the others appear from left to right as
// they follow on the ring after oneself: whoever has me at the left edge, I have at the right edge. A person on the left is
// seen a little from the left, and so looks to the right: towards the middle, and towards the others.

const ACROSS = 30; // degrees from the left edge of the screen to the right: 15 to each side of the middle

/** The other members as they follow on the ring after `you`; all of them, in their order, for who only watches (null). */
export function ring(members, you = null) {
  const own = members.findIndex(({ call }) => call === you);
  return own < 0 ? [...members] : [...members.slice(own + 1), ...members.slice(0, own)];
}

/** The size of a face in a tile: a portrait is a square that may lose a little of its sides. */
const face = (width, height) => Math.min(height, width * 1.4);

/**
 * Places for `count` tiles on a stage of `width` by `height`, from left to right: {x, y, width, height} as fractions of the
 * stage, x and y of the corner. As many rows as make the faces largest; a row that is not full stands in the middle.
 */
export function places(count, width, height) {
  if (count < 1) return [];
  const columns = (rows) => Math.ceil(count / rows);
  const size = (rows) => face(width / columns(rows), height / rows);
  let rows = 1;
  for (let more = 2; more <= count; more++) if (size(more) > size(rows) * 1.02) rows = more;
  const across = columns(rows);
  const used = Math.ceil(count / across);
  const found = Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / across);
    const inRow = Math.min(across, count - row * across);
    const x = ((across - inRow) / 2 + (i % across)) / across;
    return { x, y: row / used, width: 1 / across, height: 1 / used };
  });
  return found.sort((a, b) => a.x - b.x || a.y - b.y);
}

/** The yaw, degrees, at which the person of a place is seen before the user moves: it grows with the distance to the middle. */
export function facing({ x, width }) {
  return ACROSS * (x + width / 2 - 0.5) || 0; // || 0: no -0
}

/**
 * All of it: for each other member {call, state, person, place, yaw}; `person` is the number of the seat, from 1, which is
 * the same on every screen.
 */
export function arrange(members, you, width, height) {
  const others = ring(members, you);
  const seats = places(others.length, width, height);
  return others.map((member, i) => ({
    ...member,
    person: members.indexOf(member) + 1,
    place: seats[i],
    yaw: facing(seats[i]),
  }));
}
