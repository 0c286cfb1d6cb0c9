-- Seven faults, each with a size, a shape and a brightness of its own, and all of them scattered.
CREATE TABLE plates AS
WITH drawn AS (
  SELECT i, CASE WHEN u(i, 'fault') < 0.08 THEN 0 WHEN u(i, 'fault') < 0.18 THEN 1 WHEN u(i, 'fault') < 0.38 THEN 2
    WHEN u(i, 'fault') < 0.42 THEN 3 WHEN u(i, 'fault') < 0.45 THEN 4 WHEN u(i, 'fault') < 0.66 THEN 5 ELSE 6 END AS f
  FROM range(sampled()) AS t(i)
), sized AS (
  SELECT i, f, greatest(round(exp([2.6, 2.9, 4.4, 1.6, 3.4, 2.3, 2.7][f + 1] + 0.6 * z(i, 'w'))), 1)::INT AS w,
    greatest(round(exp([3.2, 2.9, 3.6, 1.8, 4.2, 2.4, 2.8][f + 1] + 0.6 * z(i, 'h'))), 1)::INT AS h,
    floor(1500 * u(i, 'x'))::INT AS x, (7000 + floor(9e6 * u(i, 'y')))::INT AS y,
    least(greatest(round(0.35 + 0.6 * u(i, 'full'), 4), 0.05), 1) AS filled,
    u(i, 'steel') < [0.6, 0.1, 0.9, 0.5, 0.4, 0.4, 0.3][f + 1] AS a300,
    least(greatest(round([95, 90, 60, 105, 70, 80, 90][f + 1] + 20 * z(i, 'dark')), 0), 200)::INT AS dark,
    least(greatest(round([125, 130, 128, 120, 135, 132, 130][f + 1] + 12 * z(i, 'light')), 37), 253)::INT AS light
  FROM drawn
), measured AS (
  SELECT *, greatest((w * h * filled)::INT, 2) AS area FROM sized
)
SELECT x AS "X_Minimum", x + w AS "X_Maximum", y AS "Y_Minimum", y + h AS "Y_Maximum", area AS "Pixels_Areas",
  (w * (1 + u(i, 'px')))::INT + 1 AS "X_Perimeter", (h * (1 + u(i, 'py')))::INT + 1 AS "Y_Perimeter",
  (area * (dark + light) / 2)::INT AS "Sum_of_Luminosity", dark AS "Minimum_of_Luminosity",
  light AS "Maximum_of_Luminosity", pick(i, 'conveyer', [1358, 1364, 1387, 1627, 1687, 1692]) AS "Length_of_Conveyer",
  a300::INT AS "TypeOfSteel_A300", (NOT a300)::INT AS "TypeOfSteel_A400",
  pick(i, 'thickness', [40, 40, 40, 70, 70, 50, 60, 80, 100, 200]) AS "Steel_Plate_Thickness",
  round(u(i, 'edges'), 4) AS "Edges_Index", round(1 - filled, 4) AS "Empty_Index",
  round(least(w, h) / greatest(w, h), 4) AS "Square_Index", round(least(w / 1600, 1), 4) AS "Outside_X_Index",
  round(0.2 + 0.8 * u(i, 'ex'), 4) AS "Edges_X_Index", round(0.2 + 0.8 * u(i, 'ey'), 4) AS "Edges_Y_Index",
  CASE WHEN h > w THEN 1.0 WHEN h < w THEN 0.0 ELSE 0.5 END::DOUBLE AS "Outside_Global_Index",
  round(log10(area), 4) AS "LogOfAreas", round(log10(w + 1), 4) AS "Log_X_Index", round(log10(h + 1), 4) AS "Log_Y_Index",
  round((h - w) / (h + w), 4) AS "Orientation_Index", round((dark + light) / 256 - 1, 4) AS "Luminosity_Index",
  round(1 / (1 + exp(3 - area / 100)), 4) AS "SigmoidOfAreas",
  (f = 0)::INT AS "Pastry", (f = 1)::INT AS "Z_Scratch", (f = 2)::INT AS "K_Scatch", (f = 3)::INT AS "Stains",
  (f = 4)::INT AS "Dirtiness", (f = 5)::INT AS "Bumps", (f = 6)::INT AS "Other_Faults"
FROM measured ORDER BY i;
