import multiprocessing

import arguments
import pieces


def measure(piece):
    found = {}
    for line in pieces.lines(*piece).split(b"\n"):
        if line:
            station, _, text = line.partition(b";")
            degrees = float(text)
            try:
                entry = found[station]
            except KeyError:
                found[station] = [degrees, degrees, degrees, 1]
                continue
            if degrees < entry[0]:
                entry[0] = degrees
            elif degrees > entry[1]:
                entry[1] = degrees
            entry[2] += degrees
            entry[3] += 1
    return found


def main():
    asked = arguments.parse()
    total = {}
    with multiprocessing.Pool(asked.processes) as pool:
        for found in pool.imap_unordered(measure, pieces.pieces(asked.inputs)):
            for station, (least, most, degrees, number) in found.items():
                before = total.get(station, (least, most, 0.0, 0))
                total[station] = min(before[0], least), max(before[1], most), before[2] + degrees, before[3] + number
    with open(asked.output, "w", encoding="utf-8") as file:
        for station, (least, most, degrees, number) in sorted(total.items()):
            file.write(f"{station.decode()}\t{least}\t{degrees / number}\t{most}\n")


if __name__ == "__main__":
    main()
